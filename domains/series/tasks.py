"""The tasks of the series domain: fill gaps, and forecast."""

from __future__ import annotations

from pydantic import Field

from domains.common.task import Request, Result, Run, TableFile, task


def _example_co2() -> dict[str, object]:
    from domains.series.examples import co2_table

    return {"table": co2_table(), "samples": 32}


def _example_co2_forecast() -> dict[str, object]:
    from domains.series.examples import co2_table

    return {"table": co2_table(), "horizon": 104, "samples": 32}


class ImputeRequest(Request):
    """A table with gaps."""

    table: TableFile = Field(description="CSV or Parquet; empty cells and NaN are missing")
    time_column: str | None = Field(
        None, max_length=200, description="name of the time column; left empty, it is looked for"
    )
    samples: int = Field(32, ge=2, le=256, description="posterior samples behind the bands and the median")


class ForecastRequest(Request):
    """A table whose future is asked for."""

    table: TableFile = Field(description="CSV or Parquet; empty cells and NaN are missing")
    time_column: str | None = Field(
        None, max_length=200, description="name of the time column; left empty, it is looked for"
    )
    horizon: int = Field(24, ge=1, le=10_000, description="rows to forecast past the end of the table")
    samples: int = Field(64, ge=2, le=256, description="sample paths behind the bands and the median")


@task(
    "series.impute",
    title="Fill gaps",
    model="series-base",
    request=ImputeRequest,
    extra="series",
    libraries=("torch", "pandas", "pyarrow"),
    evaluate="domains.series.evaluation:evaluate_impute",
    examples={"Mauna Loa CO2": _example_co2},
)
def impute(request: ImputeRequest, run: Run) -> Result:
    """Fills every gap of a table with a median and calibrated bands, leaving observed cells untouched."""
    from domains.series.imputation import impute_table

    return impute_table(request, run)


@task(
    "series.forecast",
    title="Forecast",
    model="series-base",
    request=ForecastRequest,
    extra="series",
    libraries=("torch", "pandas", "pyarrow"),
    evaluate="domains.series.evaluation:evaluate_forecast",
    examples={"Mauna Loa CO2": _example_co2_forecast},
)
def forecast(request: ForecastRequest, run: Run) -> Result:
    """Continues a table past its end with joint sample paths, their median and bands."""
    from domains.series.forecasting import forecast_table

    return forecast_table(request, run)
