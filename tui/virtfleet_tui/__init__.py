"""The full-screen console. It knows the engine through bridge.py and draws what that tells."""
