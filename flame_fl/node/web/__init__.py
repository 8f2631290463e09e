"""The steward's web page: requests, sheets, differences, decisions, runs, budget and the audit chain in a browser.

A process of its own beside `flame node up`; both use the same state. It decides nothing by itself: every decision
goes through `flame_fl.node.steward`, as at the command line. Rules that this package follows:

1. Nothing but the login and the style sheet is there without a session; every page names the right it needs.
2. Whatever changes something is a POST of a form with the session's token, from the page's own origin.
3. Texts from outside pass `shown` and then HTML escaping; pages run no script but ours and load nothing from elsewhere.
4. No patient's data: counts and versions of stores, never their values; what apps print is not shown.
5. Without JavaScript everything works.
"""
