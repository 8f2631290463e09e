"""Sends back what it is sent."""
