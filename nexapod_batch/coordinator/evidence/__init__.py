"""What verdicts rest on: report segments, stored statements, outputs, comparisons of them."""
