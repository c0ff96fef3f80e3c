"""SASRec (Self-Attentive Sequential Recommendation, ICDM 2018): the three published models of that name."""
