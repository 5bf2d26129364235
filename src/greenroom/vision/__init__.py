"""Looks at pictures: sharpness and light, faces and views, likeness of two pictures, with small models on the CPU.

Runs on numpy and OpenCV alone. Knows nothing of actors, captions or the database. Where weights are missing or
damaged a measure is None, which is shown as "not measured", and models.py says how to mend it.
"""
