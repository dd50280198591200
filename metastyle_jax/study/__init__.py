"""Studies: measurements that compare methods, written as CSV, Markdown and plots."""
