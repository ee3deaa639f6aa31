"""Scenes as data: objects, table, camera, lights and tasks."""
