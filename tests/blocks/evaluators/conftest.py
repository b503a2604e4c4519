"""The evaluators here are data: their test_*.py files are eval-protocol's, and are not collected as tests of ours."""

collect_ignore_glob = ["*"]
