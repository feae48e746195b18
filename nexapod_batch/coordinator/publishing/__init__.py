"""Publishing an archive: what it holds, as facts for a page; and the deposit that is made of them."""
