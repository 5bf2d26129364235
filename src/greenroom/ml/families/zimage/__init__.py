"""One base family: card.py has its facts, model.py its code."""
