"""The MuJoCo tabletop: arm, things, scenes, success predicates, scripted expert.

MuJoCo reads how to open its OpenGL once, when it is first imported, so it is said here, before that.
"""

from soar.sim.headless import use_headless_gl

use_headless_gl()
