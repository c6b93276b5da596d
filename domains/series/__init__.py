"""Time series: tables with a time order, gaps to fill and futures to forecast."""
