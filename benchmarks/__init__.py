"""What each event costs: this project, what people would use instead, and the floors under both, in one run.

    python -m benchmarks            everything, in under ten minutes; writes RESULTS.md and the plots
    python -m benchmarks --quick    fewer events and rounds, for daily use; writes nothing
    python -m benchmarks.profile    where the time goes

Read it from `server` (what is spoken to) over `contestants` (who speaks), `races` (what is measured, and how) and
`goals` (what is wanted) to `report`. Nothing here is a test: a figure depends on the machine and what else it does.
Only ratios within one run mean anything.
"""
