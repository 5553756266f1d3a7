"""The steps of a dissection: each asks one question of a specimen, and answers with tables and estimates."""
