"""Attackers: peers with other cores on the same wire. They lie through the real checks.

Names are the literature's, in kebab-case; notes and formulas are in `vectors`.
"""
