"""The training child: one process that runs DPO and ORPO jobs one after another and stays warm between them.

stdin: a job a line (job.py). stdout: an event a line (running, metrics, done, failed). stderr: the log.
It ends when stdin closes, or when its parent dies.
"""
