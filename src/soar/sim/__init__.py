"""MuJoCo tabletop simulator: arm, objects, scenes, success predicates and scripted expert.

MuJoCo chooses its OpenGL platform once, when it is first imported, so the choice is made here.
"""

from soar.sim.headless import use_headless_gl

use_headless_gl()
