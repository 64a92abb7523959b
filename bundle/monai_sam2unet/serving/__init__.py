"""The bundle's app for MONAI Label.

MONAI Label's stock app ``monaibundle`` serves the bundle, too. This one refuses what does not fit instead of
going on, trains with the settings of the served model, keeps serving while it trains, and asks for the
picture that the model is least sure of. The modules that need MONAI Label are imported by its server alone.
"""
