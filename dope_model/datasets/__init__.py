"""Labelled images; every data set yields the same sample."""
