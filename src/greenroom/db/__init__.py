"""Every table (models.py) and how a session is opened (session.py). The rules are the studio's."""
