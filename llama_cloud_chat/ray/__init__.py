"""The questions of a Ray dataset, each asked once, on as many machines as there are. Needs the extra `ray`.

    import ray
    from llama_cloud_chat import PostgresLedger
    from llama_cloud_chat.ray import Ask

    answers = ray.data.read_json("questions.jsonl").map_batches(
        Ask,
        fn_constructor_kwargs={"run": "2026-11-26", "ledger": PostgresLedger("postgresql://app@db.example.com/app")},
        batch_size=32,
        compute=ray.data.ActorPoolStrategy(size=4),
    )
    answers.write_parquet("answers")

Ray Data is the engine: it reads, hands out, and gives what a lost node had to do to another one. `Ask` is what it runs;
the ledger is where the others see what was asked already.
"""

from llama_cloud_chat._extras import needing

with needing("Asking from Ray Data needs"):
    from ._ask import Ask

__all__ = ["Ask"]
