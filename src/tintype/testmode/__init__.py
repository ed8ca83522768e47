"""Test mode: a stand-in without weights runs what keys that begin with SG_test ask for, as their prompts say."""
