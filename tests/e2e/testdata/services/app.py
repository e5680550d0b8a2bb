# SPDX-License-Identifier: Apache-2.0
"""A web application that does what many do: it asks a database by way of a cache, takes uploads, runs a helper program,
keeps logs that it rotates itself. /calc holds the mistake that is attacked: it evaluates what a client wrote."""

import hashlib
import logging
import logging.handlers
import os
import subprocess
import tempfile

import flask
import psycopg2
import redis

UPLOADS = "/var/lib/app/uploads"
KEPT = 40

app = flask.Flask(__name__)
cache = redis.Redis(host="redis", socket_timeout=60)
log = logging.getLogger("app")
log.setLevel(logging.INFO)


def database():
    return psycopg2.connect(host="postgres", user="postgres", dbname="postgres", connect_timeout=60)


def prepare():
    """Once a worker, as many frameworks do it."""
    path = "/var/log/app/worker-%d.log" % os.getpid()
    log.addHandler(logging.handlers.RotatingFileHandler(path, maxBytes=256, backupCount=2))
    with database() as db, db.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(1)")
        cursor.execute("CREATE TABLE IF NOT EXISTS notes (id bigserial PRIMARY KEY, item int, note text)")
    db.close()


@app.get("/health")
def health():
    return "ok\n"


@app.get("/item/<int:item>")
def read(item):
    known = cache.get("item:%d" % item)
    if known is None:
        with database() as db, db.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM notes WHERE item = %s", (item,))
            known = str(cursor.fetchone()[0]).encode()
        db.close()
        cache.setex("item:%d" % item, 2, known)
    log.info("item %d", item)
    # More than fits into a proxy's buffers in memory.
    return "item %d: %s notes\n" % (item, known.decode()) + "x" * (item % 3 * 100000) + "\n"


@app.post("/note/<int:item>")
def write(item):
    with database() as db, db.cursor() as cursor:
        cursor.execute("INSERT INTO notes (item, note) VALUES (%s, %s)", (item, flask.request.form["note"]))
    db.close()
    cache.delete("item:%d" % item)
    log.info("note %d", item)
    return "noted\n"


@app.post("/upload")
def upload():
    sent = flask.request.files["file"]
    with tempfile.NamedTemporaryFile(prefix="upload-", dir="/tmp") as spool:
        sent.save(spool)
        spool.flush()
        packed = subprocess.run(["gzip", "-c", spool.name], check=True, stdout=subprocess.PIPE).stdout
        spool.seek(0)
        digest = hashlib.file_digest(spool, "sha256").hexdigest()
    folder = os.path.join(UPLOADS, digest[:2])
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as kept:
        kept.write(packed)
    os.rename(kept.name, os.path.join(folder, digest + ".gz"))
    sweep()
    log.info("upload %s", digest)
    return digest + "\n"


def sweep():
    """Keeps the newest uploads."""
    found = []
    for folder, _, names in os.walk(UPLOADS):
        for name in names:
            if name.endswith(".gz"):
                path = os.path.join(folder, name)
                try:
                    found.append((os.stat(path).st_mtime, path))
                except FileNotFoundError:
                    pass
    for _, path in sorted(found)[:-KEPT]:
        try:
            os.unlink(path)
            os.rmdir(os.path.dirname(path))
        except OSError:
            pass


@app.get("/report")
def report():
    with database() as db, db.cursor() as cursor:
        # Workers of the database take part, and sort on disk.
        cursor.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
        cursor.execute("SELECT count(*) FROM notes")
        cursor.execute("SELECT md5(n::text) AS m FROM generate_series(1, 20000) AS n ORDER BY m")
        rows = cursor.fetchall()
    db.close()
    with tempfile.TemporaryFile("w+") as out:
        out.writelines(row[0] + "\n" for row in rows)
        return "%d bytes\n" % out.tell()


@app.get("/metrics")
def metrics():
    return "app_requests_total %d\n" % cache.incr("requests"), {"Content-Type": "text/plain; version=0.0.4"}


@app.get("/calc")
def calc():
    return "%s\n" % eval(flask.request.args["expression"])
