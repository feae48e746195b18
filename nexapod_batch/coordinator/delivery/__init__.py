"""Results delivered to where their job wants them: a folder, or a bucket, with all that proves them."""
