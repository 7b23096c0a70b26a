"""Sequence recommenders: score a user's next item from the events so far, at the cost of one event a step.

Every member follows `tsrec_models.base.SequenceRecommender`; import them from their own modules.
"""
