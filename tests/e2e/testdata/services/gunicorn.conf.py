# SPDX-License-Identifier: Apache-2.0
"""Loads the application once; its workers are forked."""

preload_app = True


def post_worker_init(worker):
    import app

    app.prepare()
