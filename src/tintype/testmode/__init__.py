"""Test mode: a fake worker without weights runs the requests of keys that begin with SG_test, as their prompts say."""
