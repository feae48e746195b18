"""What every plug-in of a kind must do, written once, for those who write one as well.

A test file has a class that inherits a suite and says what is tried; a test runner that collects `test_*` methods does
the rest. Nothing here imports one, and nothing of the product imports this.
"""
