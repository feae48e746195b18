"""What names of owners, schedulers and servers may look like: one pattern each, wherever they are written or read."""

from __future__ import annotations

__all__ = ["ACCOUNT", "ACCOUNT_WORDS", "OWNER", "OWNER_WORDS", "PROXY", "SITE_NAME"]

#: Accounts and QOS: `abc@v100`, `proj:sub`, `a+b` exist. All of it is harmless in a `#SBATCH` line.
ACCOUNT = r"[A-Za-z0-9_.@:+-]{1,128}"
ACCOUNT_WORDS = "letters, digits, `_ . @ : + -`"
#: A site's, which is that of its file without `.toml`.
SITE_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
#: The URL of a proxy, without a login.
PROXY = r"https?://[A-Za-z0-9.\[\]:-]{1,253}/?"
#: Who answers for machines, of a site or of any node: whose names are equal is one owner. None ends with a blank.
OWNER = r"[A-Za-z0-9_.@+-](?:[A-Za-z0-9_.@+ -]{0,126}[A-Za-z0-9_.@+-])?"
OWNER_WORDS = "letters, digits, blanks within, `_ . @ + -`"
