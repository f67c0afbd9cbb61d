"""Plans being carried out: journaled before each step, resumed or undone after a crash, audited.

    book.py       all jobs, for both faces
    executor.py   one job: its steps, and their undoing when one fails
    limits.py     how much at once, per host, pool and fleet
    progress.py   how far a job is
    undoing.py    a job that is done, taken back as another job
    auditing.py   who did what, and what it was before and after
    owners.py     which process runs which job, and whether it still lives
    vigil.py      saying that we live, and seeing what other processes do
    journal.py    what is written before anything acts, in a thread of its own;
                  database.py, schema.py and rows.py are what it is made of

Nothing here knows libvirt or the fleet: steps are run through a `Runner` that
the engine gives. SQLAlchemy is imported when a journal is opened.
"""
