"""The book's sine, and columns of files in the forms in which people have them."""

import gzip
import tracemalloc

import numpy as np
import pytest

from tfrnn import series
from tfrnn.errors import UserError

NUMBERS = [1.5, -2.25, 1234.5]


def read(tmp_path, text, *columns, **options):
    """Reads a file with this text, or these bytes."""
    file = tmp_path / "s.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return series.read_series(file, columns, **options)


def test_the_books_sine():
    sine = np.sin(0.01 * np.arange(1, 1001))
    np.testing.assert_allclose(series.noisy_sine(noise=0), sine)
    assert np.std(series.noisy_sine() - sine) == pytest.approx(0.2, abs=0.01)
    assert not np.allclose(series.noisy_sine(seed=1), series.noisy_sine(seed=2))


def test_a_column_is_read_by_its_name(tmp_path):
    file = tmp_path / "two.csv"
    file.write_text("\ufeffday, celsius\n1,-3.5\n2,4e0\n3, 7\n\n", encoding="utf-8")
    assert series.read_column(file, "celsius").tolist() == [-3.5, 4, 7]


def test_the_only_column_needs_no_name(tmp_path):
    (tmp_path / "one.csv").write_text("x\n1\n2\n")
    assert series.read_column(tmp_path / "one.csv").tolist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "t,v\nx,1.5\ny,-2.25\nz,1234.5\n",
        "t;v\nx;1,5\ny;-2,25\nz;1234,5\n",
        "t;v\nx;1,5\ny;-2,25\nz;1.234,5\n",
        "t\tv\nx\t1.5\ny\t-2.25\nz\t1234.5\n",
        "t|v\nx|1.5\ny|-2.25\nz|1 234.5\n",
        't,v\nx,1.5\ny,-2.25\nz,"1,234.5"\n',
        "t,v,\r\nx, 1.5,\r\ny,-2.25,\r\nz,1234.5,\r\n",
        "# where it is from\nt,v\n# and more\nx,1.5\ny,-2.25\nz,1234.5\n\n",
        "v\n1,5\n-2,25\n1234,5\n",
        "1.5\n-2.25\n1234.5\n",
        "t;v\nx;1'234,5\n".replace("x;1'234,5", "x;1,5\ny;-2,25\nz;1'234,5"),
        "t,v\nx,1.5\ny,-2.25\nz,1234.5\n".encode("utf-16"),
        gzip.compress(b"t,v\nx,1.5\ny,-2.25\nz,1234.5\n", mtime=0),
    ],
)
def test_the_form_of_a_file_is_found(text, tmp_path):
    found = read(tmp_path, text)
    assert found.values.tolist() == [[number] for number in NUMBERS]
    assert found.names in (("v",), ("column1",))


def test_the_form_of_a_file_is_told(tmp_path):
    text = "2020,1.234\n2021,5.678\n2022,9.012\n"
    assert read(tmp_path, text, "column2", header="no", decimal=",").values.tolist() == [[1234], [5678], [9012]]
    text = "größe;b\n1,234;7\n".encode("cp1252")
    assert read(tmp_path, text, "größe", decimal=",", encoding="cp1252").values.tolist() == [[1.234]]
    with pytest.raises(UserError, match=r"expected a CSV file in UTF-8.*give its `encoding`"):
        read(tmp_path, text, "b")
    assert read(tmp_path, "%x\na,b\n1,2\n", "b", comment="%").values.tolist() == [[2]]


def test_several_columns_are_read_in_the_order_that_is_asked_for(tmp_path):
    found = read(tmp_path, "a,b,c\n1,2,3\n4,5,6\n", "c", "a")
    assert found.names == ("c", "a")
    assert found.values.tolist() == [[3, 1], [6, 4]]


@pytest.mark.parametrize(
    ("dates", "step", "following", "seasons"),
    [
        (["1949-01", "1949-02", "1949-03"], "1 month", "1949-04", [12]),
        (["2023-01-31", "2023-02-28", "2023-03-31"], "1 month", "2023-04-30", [12]),
        (["2023Q3", "2023Q4", "2024Q1"], "3 months", "2024Q2", [4]),
        (["Nov 2022", "Dec 2022", "Jan 2023"], "1 month", "Feb 2023", [12]),
        (["30.12.2023", "31.12.2023", "01.01.2024"], "1 day", "02.01.2024", [7, 365]),
        (["12/30/2023", "12/31/2023", "01/01/2024"], "1 day", "01/02/2024", [7, 365]),
        (["2024-02-19", "2024-02-26", "2024-03-04"], "1 week", "2024-03-11", [52]),
        (["2024-02-28 23:00", "2024-02-29 00:00", "2024-02-29 01:00"], "1 hour", "2024-02-29 02:00", [24, 168]),
        (["2024-01-01T00:00:00.0Z", "2024-01-01T00:15:00.0Z"], "15 minutes", "2024-01-01T00:30:00.0Z", [4, 96, 672]),
        (["2024-01-01 23:59:59.50", "2024-01-01 23:59:59.75"], "250 milliseconds", "2024-01-02 00:00:00.00", [4, 240]),
        (["2024-01-01T00:00:00.9Z", "2024-01-01T00:00:00.95Z"], "50 milliseconds", "2024-01-01T00:00:01.00Z", [20]),
        (["2024-01-01 00:00:00", "2024-01-01 00:00:00.000020"], "20 microseconds", "2024-01-01 00:00:00.000040", []),
        (["2024-01-01 00:00:01.01", "2024-01-01 00:00:02.02"], "1 second", "2024-01-01 00:00:03.02", []),  # chance
        (["d8", "d9", "d10"], "1 step", "d11", []),
        (["2023-01-28", "2023-02-28"], "1 month", "2023-03-28", [12]),  # and not at its end
        (["2023-01-31", "2023-02-28", "2023-03-31", "2023-04-28"], "1 month", "2023-05-31", [12]),  # working days
        (["2023-12-31", "2024-12-31"], "12 months", "2025-12-31", []),
        (["202311", "202312", "202401"], "1 month", "202402", [12]),
        (["Q3 2023", "Q4 2023", "Q1 2024"], "3 months", "Q2 2024", [4]),
        (["2020-W52", "2020-W53", "2021-W01"], "1 week", "2021-W02", [52]),
        (["9/29/2024", "9/30/2024", "10/1/2024"], "1 day", "10/2/2024", [7, 365]),
        (["Nov-68", "Dec-68", "Jan-69"], "1 month", "Feb-69", [12]),
        (["1/13/2024 11:00 AM", "1/13/2024 12:00 PM", "1/13/2024 1:00 PM"], "1 hour", "1/13/2024 2:00 PM", [24, 168]),
        (["2024-01-01 22:00 UTC", "2024-01-01 23:00 UTC"], "1 hour", "2024-01-02 00:00 UTC", [24, 168]),
        (["2024-01-01 22:00:00 +0200", "2024-01-01 23:00:00 +0200"], "1 hour", "2024-01-02 00:00:00 +0200", [24, 168]),
        # Summer time begins, and ends.
        (["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"], "1 hour", "2024-03-31T04:00+02:00", [24, 168]),
        (["2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00"], "1 hour", "2024-10-27T03:00+01:00", [24, 168]),
        (
            ["2024-10-26T00:00+02:00", "2024-10-27T00:00+02:00", "2024-10-28T00:00+01:00"],
            "1 day",
            "2024-10-29T00:00+01:00",
            [7, 365],
        ),
    ],
)
def test_the_step_between_dates_is_found_and_goes_on_after_the_end(dates, step, following, seasons, tmp_path):
    found = read(tmp_path, "date,v\n" + "".join(f"{date},{i}\n" for i, date in enumerate(dates))).calendar
    assert (found.description, found.after(1)) == (step, [following])
    assert found.seasons[: len(seasons)] == seasons


def test_years_and_numbers_are_dates_in_a_column_of_such_a_name(tmp_path):
    years = read(tmp_path, "year,v\n2001,5\n2002,6\n2003,8\n").calendar
    assert years.after(2) == ["2004", "2005"]
    assert read(tmp_path, "t,v\n10,5\n20,6\n30,8\n").calendar.after(1) == ["40"]
    assert read(tmp_path, "when,v\n10,5\n20,6\n30,8\n", "v").calendar is None
    assert read(tmp_path, "when,v\n10,5\n20,6\n30,8\n", "v", date_column="when").calendar.after(1) == ["40"]


def test_dates_after_the_year_9999_are_refused(tmp_path):
    found = read(tmp_path, "date,v\n9998-01-01,1\n9999-01-01,2\n").calendar
    with pytest.raises(
        UserError, match="expected dates up to the year 9999; got 2 steps of 12 months after 9999-01-01"
    ):
        found.after(2)


def test_working_days_have_no_weekends(tmp_path):
    days = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-02-01"))
    days = [day for day in days if np.is_busday(day)]
    found = read(tmp_path, "day,v\n" + "".join(f"{day},1\n" for day in days)).calendar
    assert found.description == "1 working day"
    assert found.after(4) == ["2024-02-01", "2024-02-02", "2024-02-05", "2024-02-06"]
    with pytest.raises(UserError, match="2024-01-09 is missing"):
        read(tmp_path, "day,v\n" + "".join(f"{day},1\n" for day in days if str(day) != "2024-01-09"))


def test_the_newest_first_is_turned_round_and_dates_that_do_not_rise_are_left_out_with_a_note(tmp_path):
    found = read(tmp_path, "date,v\n2024-01-03,3\n2024-01-02,2\n2024-01-01,1\n")
    assert found.values[:, 0].tolist() == [1, 2, 3]
    assert found.calendar.after(1) == ["2024-01-04"]
    assert "read from the end" in found.notes[0]
    found = read(tmp_path, "date,v\n2024-01-01,3\n2024-01-02,2\n2024-01-01,1\n2024-01-02,1\n")
    assert found.calendar is None
    assert "line 4: the dates do not rise" in found.notes[0]


GAPS = "date,v\n2024-01-01,1\n2024-01-02,NA\n2024-01-03,4\n2024-01-05,8\n"


def test_gaps_are_named_unless_they_are_to_be_filled(tmp_path):
    with pytest.raises(UserError, match=r"line 3, column 'v': .*; got 'NA'; fill such gaps by .*`fill=skip`$"):
        read(tmp_path, GAPS)
    with pytest.raises(UserError, match=r"line 5: expected dates 1 day apart; 2024-01-04 is missing, .*`fill=skip`$"):
        read(tmp_path, GAPS.replace("NA", "2"))
    filled = {
        "linear": [1, 2.5, 4, 6, 8], "previous": [1, 1, 4, 4, 8], "zero": [1, 0, 4, 0, 8], "skip": [1, 4, 8],
    }  # fmt: skip
    for how, expected in filled.items():
        found = read(tmp_path, GAPS, fill=how)
        assert found.values[:, 0].tolist() == expected
        assert found.calendar.after(1) == ["2024-01-06"]
        assert how == "skip" or "2 of 5 steps had gaps" in found.notes[0]


def test_gaps_at_the_ends_take_the_nearest_value_and_a_column_of_gaps_is_refused():
    values = np.array([[np.nan, 2, np.nan]]).T
    for how in ("linear", "previous"):
        assert series.fill_gaps(values, how)[:, 0].tolist() == [2, 2, 2]
    with pytest.raises(UserError, match="only gaps"):
        series.fill_gaps(values * np.nan, "linear")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\nten\n", "line 3, column 'a': expected a finite number; got 'ten'; write a number, or nothing if"),
        ("a\n1\ninf\n", "got 'inf'"),
        ("a;b\n1;1,234\n", "expected to know whether the comma in '1,234' is a decimal mark"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\n2024-01-03,2\nsoon,3\n", r"column 'date': .* got 'soon'; write it"),
        ("a;b\n1;2\n1;2;3\n", "line 3: expected 2 fields separated by semicolons; got 3; put a field that has sem"),
        ("a\tb\n1\t2\n1\t2\t3\n", "got 3; put a field that has tabs in it .*, or give another `separator`$"),
        ("date,a\n2024-01-01,1\n2024-01-03,2\n2024-01-05,2\n2024-01-06,3\n", "2 days apart; got one after 2024-01-05"),
        ("date,a\n01/02/2023,1\n01/03/2023,2\n", "day and month can be told apart"),
        ('a\n1\n"2\n3\n', "look for a quotation mark that is not closed"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, *(["b"] if ";b" in text else ["a"]))


def test_a_named_column_without_dates_is_told_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"expected dates in `date_column=b`.*got 'x'; name another column"):
        read(tmp_path, "a,b\n1,x\n2,y\n", "a", date_column="b")


def test_a_long_file_is_read_in_little_more_memory_than_its_numbers(tmp_path):
    num_steps = 20_000
    text = "name,v\n" + "".join(f"{'x' * 100},{i}\n" for i in range(num_steps))
    tracemalloc.start()
    try:
        found = read(tmp_path, text, "v").values
        del text
        tracemalloc.reset_peak()
        again = series.read_series(tmp_path / "s.csv", ["v"]).values
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, again)
    assert peak < 2 * num_steps * 8 * 4 + 2**20  # the file has 2 MB


def test_months_in_which_the_day_comes_first_or_second_are_told_apart_by_their_regularity(tmp_path):
    months = [(year, month) for year in (2022, 2023) for month in range(1, 13)]
    for form, following in (("01/{1:02}/{0}", "01/01/2024"), ("{1}/1/{0}", "1/1/2024")):
        dates = [form.format(*month) for month in months]
        found = read(tmp_path, "date,v\n" + "".join(f"{date},{i}\n" for i, date in enumerate(dates))).calendar
        assert (found.description, found.after(1)) == ("1 month", [following])


def test_lines_out_of_order_are_put_into_that_of_their_dates(tmp_path):
    text = "date,v\n2024-01-02,2\n2024-01-04,4\n2024-01-01,1\n2024-01-03,3\n"
    for options in ({}, {"date_column": "date"}):
        found = read(tmp_path, text, **options)
        assert found.values[:, 0].tolist() == [1, 2, 3, 4]
        assert found.calendar.after(1) == ["2024-01-05"]
        assert "line 4: the dates do not rise, so the lines are put into the order of their dates" in found.notes[0]


def test_dates_that_are_not_known_are_told(tmp_path):
    found = read(tmp_path, "day,v\nMonday the first,1\nTuesday,2\n")
    assert found.calendar is None
    assert (
        "column 'day' has no dates that are known, e.g. 'Monday the first', so the steps are numbered" in found.notes[0]
    )


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_row_numbers_without_a_name_are_not_a_series(name, tmp_path):
    found = read(tmp_path, f"{name},date,v\n0,2024-01-01,5\n1,2024-01-02,6\n")
    assert found.names == ("v",)
    assert found.values.tolist() == [[5], [6]]
    with pytest.raises(UserError, match="got ''"):
        read(tmp_path, f"{name},v,w\n0,1,5\n1,2,6\n")


def test_inputs_are_read_after_the_columns_which_may_be_left_out_if_one_remains(tmp_path):
    found = read(tmp_path, "a,b\n1,2\n3,4\n", inputs=["a"])
    assert found.names == ("b", "a")
    assert found.values.tolist() == [[2, 1], [4, 3]]
    with pytest.raises(
        UserError, match=r"expected `inputs` to name one of visits, b; got 'visit' \(did you mean visits\?\)"
    ):
        read(tmp_path, "visits,b\n1,2\n", "b", inputs=["visit"])


def test_a_series_ends_with_its_last_value_and_what_is_missing_after_it_is_not_filled(tmp_path):
    text = "date,v,known\n2024-01-01,1,5\n2024-01-02,,6\n2024-01-03,3,7\n2024-01-04,,8\n2024-01-05,,9\n"
    found = read(tmp_path, text, "v", fill="previous")
    assert found.values.tolist() == [[1], [1], [3]]
    assert found.calendar.after(1) == ["2024-01-04"]
    assert "line 5: from here on there are no values" in found.notes[0]
    with pytest.raises(UserError, match="line 3, column 'v'"):
        read(tmp_path, text, "v", inputs=["known"])
    with pytest.raises(UserError, match="line 5, column 'v'"):
        read(tmp_path, text.replace(",,6", ",2,6"), "v")


AHEAD = "date,v,known\n2024-01-01,1,5\n2024-01-02,2,6\n2024-01-03,3,7\n2024-01-04,,8\n2024-01-05,,9\n"


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dates", [True, False])
@pytest.mark.parametrize("fill", ["none", "previous", "skip"])
def test_inputs_after_the_last_value_are_those_of_the_future(fill, dates, turned, tmp_path):
    lines = AHEAD.splitlines() if dates else [line.partition(",")[2] for line in AHEAD.splitlines()]
    if turned and dates:
        lines[1:] = lines[:0:-1]
    found = read(tmp_path, "\n".join(lines), "v", inputs=["known"], fill=fill)
    assert (found.values.tolist(), found.future.tolist()) == ([[1, 5], [2, 6], [3, 7]], [[8], [9]])
    assert not dates or found.calendar.after(1) == ["2024-01-04"]
    assert read(tmp_path, AHEAD.replace(",,", ",4,"), "v", inputs=["known"]).future is None


def test_the_known_inputs_end_at_the_first_that_is_missing(tmp_path):
    missing = AHEAD.replace(",,8", ",,NA")
    with pytest.raises(UserError, match="line 5, column 'known': expected a finite number; got 'NA'"):
        read(tmp_path, missing, "v", inputs=["known"])
    found = read(tmp_path, missing, "v", inputs=["known"], fill="zero")
    assert (found.values.tolist(), found.future) == ([[1, 5], [2, 6], [3, 7]], None)
    found = read(tmp_path, AHEAD + "2024-01-07,,1\n", "v", inputs=["known"], fill="zero")
    assert found.future.tolist() == [[8], [9]]
    assert "line 7: the date before it is missing" in found.notes[0]
    with pytest.raises(UserError, match="line 7: expected dates 1 day apart; 2024-01-06 is missing"):
        read(tmp_path, AHEAD + "2024-01-07,,1\n", "v", inputs=["known"])


def test_a_point_that_may_part_thousands_and_an_archive_are_told(tmp_path):
    assert "give `decimal=,` if it parts the thousands" in read(tmp_path, "a;b\n1.234;x\n5.678;y\n", "a").notes[0]
    assert not read(tmp_path, "a;b\n1.234;x\n5.67;y\n", "a").notes
    with pytest.raises(UserError, match="a zip archive or a spreadsheet"):
        read(tmp_path, b"PK\x03\x04and more")


DAYS = [f"2024-01-{day:02}" for day in range(1, 21)]


@pytest.mark.parametrize("turned", [False, True])
def test_a_long_table_is_refused_with_the_columns_that_tell_its_lines_apart(turned, tmp_path):
    keys = ["store", "item"] if turned else ["store"]
    of_stores = [(day, *key) for key in (("A", "x"), ("B", "x"), ("A", "y")) for day in DAYS]
    rows = of_stores if turned else sorted(row[:2] for row in of_stores[:40])
    text = f"date,{','.join(keys)},v\n" + "".join(f"{','.join(row)},{i}.5\n" for i, row in enumerate(rows))
    shown = " and ".join(map(repr, keys))
    with pytest.raises(
        UserError, match=f"one line for each date; got that of line 2 again, with another {shown}; write"
    ):
        read(tmp_path, text, "v")
    assert "repeats that of line 2" in read(tmp_path, text.replace("A", "1").replace("B", "1"), "v").notes[0]


def test_a_date_in_several_columns_is_told(tmp_path):
    hours = [(day, f"{hour}:00") for day in DAYS for hour in range(24)]
    numbers = [(day, hour) for day in DAYS for hour in range(24)]
    months = [(year, month) for year in range(2010, 2020) for month in range(1, 13)]
    for names, rows in ((("date", "clock"), hours), (("Tag", "Stunde"), numbers), (("year", "month"), months)):
        text = f"{','.join(names)},v\n" + "".join(f"{a},{b},{i}\n" for i, (a, b) in enumerate(rows))
        found = read(tmp_path, text, "v")
        assert found.values[:, 0].tolist() == [*range(len(rows))]
        assert f"the date is in several columns, {names[0]!r}, {names[1]!r}; join them" in found.notes[0]


@pytest.mark.parametrize("title", ["Sales of our shop\nin thousands\n\n", "Sales,,\n,,\n", '"Sales, by month"\n'])
@pytest.mark.parametrize("separator", [",", ";"])
def test_titles_above_the_names_are_told(title, separator, tmp_path):
    rows = "".join(f"{day},{i},{i}\n" for i, day in enumerate(DAYS)).replace(",", separator)
    line = title.count("\n") + 1
    with pytest.raises(UserError, match=rf"got '.*Sales.*', and in line {line} date, a, b; delete the lines above"):
        read(tmp_path, title + f"date{separator}a{separator}b\n" + rows, "a")


@pytest.mark.parametrize(("field", "sign"), [("10.5%", "%"), ("$1,000.50", "$"), ("10,5 €", "€"), ("USD 7", "USD")])
def test_signs_beside_numbers_are_told(field, sign, tmp_path):
    with pytest.raises(UserError) as refused:
        read(tmp_path, f"a;b\n1;{field}\n", "b")
    assert f"got {field!r}; take {sign!r} away in all lines" in str(refused.value)


def test_a_line_of_values_that_is_read_as_names_is_told(tmp_path):
    found = read(tmp_path, "Monday,5\nTuesday,6\n")
    assert "line 1 is read as the names Monday, 5; give `header=no` if it has values" in found.notes[0]
    assert not read(tmp_path, "name,2019\nx,6\n").notes


def test_what_excel_writes_is_read(tmp_path):
    found = read(tmp_path, "sep=;\ndate;v\n2024-01-01;1,5\n2024-01-02;#N/A\n2024-01-03;2,5\n", fill="linear")
    assert found.values[:, 0].tolist() == [1.5, 2, 2.5]


def test_a_first_line_with_a_date_that_may_be_read_in_two_ways_is_no_header(tmp_path):
    found = read(tmp_path, "".join(f"{day:02}/02/2022,{day}.5\n" for day in range(1, 15)))
    assert found.values[:, 0].tolist() == [day + 0.5 for day in range(1, 15)]
    assert found.calendar.description == "1 day"
