"""List what a query may consist of that certainly only reads; names are PostgreSQL's own.

Left out on purpose: what writes or locks (`nextval`, `setval`, `lo_*`, `pg_advisory_lock`), runs
SQL that it is given (`query_to_xml`, `ts_stat`, `ts_rewrite`), reads the server's files or signals
it (`pg_read_file`, `pg_terminate_backend`), waits (`pg_sleep`), changes settings (`set_config`), or
makes one value of any size (`repeat`, `lpad`, `format`). Many rows can be made of little all the
same: the server's time is bounded by the tool, the rest by the role.
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NODES: Final = _words(
    """
    SelectStmt ResTarget ColumnRef A_Star A_Const String Integer Float Boolean BitString List
    ParamRef BoolExpr NullTest BooleanTest CaseExpr CaseWhen CoalesceExpr MinMaxExpr TypeCast
    A_ArrayExpr A_Indices RowExpr CollateClause SQLValueFunction NamedArgExpr WindowDef
    RangeSubselect JoinExpr Alias WithClause CommonTableExpr CTESearchClause
    CTECycleClause GroupingSet GroupingFunc ExplainStmt
    """
)
"""Parts of a tree that do nothing by themselves. No INTO, no FOR UPDATE, no other statement.

EXPLAIN's options are a part of their own, DefElem, that is not here: with ANALYZE it runs.
"""

OPERATORS: Final = _words(
    """
    = <> != < <= > >= + - * / % ^ || |/ ||/ @ & | # ~ << >> && @> <@ @@ ~~ !~~ ~~* !~~* ~* !~
    !~* ^@ -> ->> #> #>> ? ?| ?& @? -|- &< &>
    """
) | {
    "BETWEEN",
    "NOT BETWEEN",
    "BETWEEN SYMMETRIC",
    "NOT BETWEEN SYMMETRIC",
}

TYPES: Final = _words(
    """
    bool int2 int4 int8 float4 float8 numeric money text varchar bpchar char name bytea uuid
    date time timetz timestamp timestamptz interval json jsonb jsonpath inet cidr macaddr bit
    varbit int4range int8range numrange tsrange tstzrange daterange tsvector tsquery point line
    lseg box path polygon circle
    """
)
"""By the names that the grammar gives them: `integer` is int4, `character varying` is varchar."""

FUNCTIONS: Final = _words(
    """
    count sum avg min max bool_and bool_or every bit_and bit_or array_agg string_agg json_agg
    jsonb_agg json_object_agg jsonb_object_agg range_agg stddev stddev_pop stddev_samp variance
    var_pop var_samp corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept
    regr_r2 regr_slope regr_sxx regr_sxy regr_syy mode percentile_cont percentile_disc
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value
    nth_value abs ceil ceiling floor round trunc mod div power sqrt cbrt exp ln log log10 sign
    pi degrees radians sin cos tan cot asin acos atan atan2 gcd lcm random width_bucket scale
    min_scale trim_scale lower upper initcap length char_length character_length octet_length
    bit_length btrim ltrim rtrim substr substring left right reverse overlay position strpos
    replace translate concat concat_ws split_part starts_with ascii chr md5
    sha224 sha256 sha384 sha512 encode decode quote_ident quote_literal quote_nullable
    regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
    regexp_count regexp_instr regexp_like regexp_substr string_to_array string_to_table
    array_to_string normalize is_normalized unistr to_hex like_escape similar_to_escape to_char
    to_number to_date to_timestamp now transaction_timestamp statement_timestamp clock_timestamp
    timeofday timezone age date_part date_trunc date_bin extract isfinite justify_days
    justify_hours justify_interval make_date make_time make_timestamp make_timestamptz
    make_interval overlaps array_append array_prepend array_cat array_length array_lower
    array_upper array_ndims array_dims array_position array_positions array_remove array_replace
    cardinality unnest generate_series generate_subscripts to_json to_jsonb row_to_json
    array_to_json json_build_object jsonb_build_object json_build_array jsonb_build_array
    json_object jsonb_object json_array_length jsonb_array_length json_array_elements
    jsonb_array_elements json_array_elements_text jsonb_array_elements_text json_each jsonb_each
    json_each_text jsonb_each_text json_object_keys jsonb_object_keys json_typeof jsonb_typeof
    json_extract_path jsonb_extract_path json_extract_path_text jsonb_extract_path_text
    json_strip_nulls jsonb_strip_nulls jsonb_pretty jsonb_set jsonb_insert jsonb_path_exists
    jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first to_tsvector
    to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_rank ts_rank_cd
    ts_headline setweight strip numnode querytree isempty lower_inc upper_inc lower_inf
    upper_inf range_merge host hostmask masklen netmask network broadcast family abbrev
    inet_same_family num_nulls num_nonnulls pg_typeof gen_random_uuid current_database
    current_schema version
    """
)

VALUE_FUNCTIONS: Final = _words(
    """
    json_array_elements json_array_elements_text jsonb_array_elements jsonb_array_elements_text
    """
)
"""Whose one column in FROM is called `value`, whatever they themselves are called there."""

ARITHMETIC: Final = _words(
    """
    * / % ^ |/ ||/ mod div power sqrt cbrt exp ln log log10 gcd lcm
    """
)
"""What takes seconds on numbers of 100,000 digits, and is not interrupted."""
