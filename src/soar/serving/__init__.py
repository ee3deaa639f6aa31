"""Models behind sockets: policies, subgoal generators and VLMs for other programs."""
