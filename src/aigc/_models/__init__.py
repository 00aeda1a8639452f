"""What the models of images and sound have in common, and users do not see: how data are looked at, how models are kept.

data.py     data before a run: read, checked, split into examples and conditions
files.py    models in a folder
showing.py  how they show themselves
"""
