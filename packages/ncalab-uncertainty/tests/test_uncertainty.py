from ncalab import uncertainty


def test_nothing_is_exported_before_it_works() -> None:
    public = {name for name in vars(uncertainty) if not name.startswith("_")}

    assert uncertainty.__all__ == ["__version__"]
    assert public == set()
