"""Runs the command `hookline` as it is, but with less patience and with a wall clock that a file moves.

    from hookline.delivery.policy import deleted_webhooks, endpoint_state

    deleted_webhooks.GONE_SECONDS = float(os.environ[GONE])
    endpoint_state.PROBE_SECONDS, endpoint_state.LONGEST_PROBE_SECONDS = 0.5, 1.0
    from hookline.delivery import holding, session, set_aside
    from hookline.delivery.policy.event_room import EventRoom

    holding.DUE_AFTER_SECONDS = streams.ACK_WAIT_SECONDS
    vars(session)["EventRoom"] = partial(EventRoom, places=16)
    set_aside.MOST = 4
    from hookline.cli.main import main as hookline

    hookline()


def _follow_clock(file: str | None) -> None:
    """Put the wall clock off by the seconds that the file holds now. The monotonic clock stays, as it does anywhere."""
    if file is None:
        return
    path, right = Path(file), time.time
    time.time = lambda: right() + float(path.read_text())

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Moved:
            return cls.fromtimestamp(time.time(), tz)

    datetime.datetime = Moved  # type: ignore[misc]


if __name__ == "__main__":
    main()
