"""A build handed over: its tokens as a mixture that trains elsewhere, its curated texts, or a dataset repository of them."""
