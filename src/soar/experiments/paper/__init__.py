"""The paper's figure, tables and appendices in simulation."""
