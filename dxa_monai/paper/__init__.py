"""The whole paper (Leong et al., arXiv:2206.06663) by one command: its parts, what they found, one report.

:mod:`~dxa_monai.paper.plan` says which commands of the bundles it consists of, :mod:`~dxa_monai.paper.parts` runs them,
:mod:`~dxa_monai.paper.tables` and :mod:`~dxa_monai.paper.claims` put what they wrote beside what the paper says, and
:mod:`~dxa_monai.paper.report` writes it down. Nothing here knows of networks or physics.
"""
