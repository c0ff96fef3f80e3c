"""Tables of text or Parquet: opened, decoded and read column by column, with every row accounted for."""
