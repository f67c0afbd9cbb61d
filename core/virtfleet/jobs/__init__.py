"""Plans being carried out: journaled before each step, resumed or undone after a crash, audited.

    schema.py     the tables; with journal.py alone in touch with SQLAlchemy
    journal.py    what is written before anything acts, in a thread of its own
    owners.py     which process runs which job, and whether it still lives
    limits.py     how much at once, per host, pool and fleet
    executor.py   one job: its steps, and their undoing when one fails
    book.py       all jobs, for both faces

Nothing here knows libvirt or the fleet: steps are run through a `Runner` that
the engine gives.
"""
