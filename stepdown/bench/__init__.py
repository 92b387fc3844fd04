"""Measurements of one thing beside others that do the same, in turns and in one run.

Owns: what is measured, how it is judged and told. Reads: limits in catalog/objectives.yml. Never: changes what it
measures, or judges a run in which something changed.
"""
