"""Robots of other processes, interpreters and machines: the host that serves one over a websocket, and its client.

`robot_host.py`, `gym_robot.py` and `lerobot_arm.py` also run where soar isn't installed.
"""
