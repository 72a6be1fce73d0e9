{#- A point-in-time training set in the SQL of the warehouse that dbt runs on: the same rows and values everywhere.

    spine: its relation. time: its column. keys: all key columns. views: as point_in_time_sql takes them. Databricks runs
    Spark's. -#}
{% macro lookup_sql(spine, time, keys, views, status) %}
    {{ return(adapter.dispatch('lookup_sql', 'featmill')(spine, time, keys, views, status)) }}
{% endmacro %}

{% macro duckdb__lookup_sql(spine, time, keys, views, status) %}
    {%- set types = {} -%}
    {%- for view in views -%}{%- do types.update(view.get('key_types', {})) -%}{%- endfor -%}
    {{ return(featmill.point_in_time_sql(featmill.spine_sql(spine, time, keys, types), time, views, status)) }}
{% endmacro %}

{% macro snowflake__lookup_sql(spine, time, keys, views, status) %}
    {{ return(featmill._lookup_by_asof(spine, time, keys, views, status, {
        'after': 'dateadd(microsecond, [], {})', 'fail': 'to_boolean({})', 'ignore': 'outside', 'apostrophe': "''",
        'quote': '"', 'folds': true,
        'as_of': "to_timestamp_tz(iff(contains(snapshot_id, '.'), "
            ~ "replace(split_part(snapshot_id, '-', 1), 'Z', '+0000'), substr(snapshot_id, 1, 15) || '.0+0000'), "
            ~ "'YYYYMMDD\"T\"HH24MISS.FFTZHTZM')",
        'never': "to_timestamp_tz('9999-12-31 00:00:00 +00:00')",
    })) }}
{% endmacro %}

{% macro bigquery__lookup_sql(spine, time, keys, views, status) %}
    {{ return(featmill._lookup_by_union(spine, time, keys, views, status, {
        'given': '(select as struct spine.*)', 'after': 'timestamp_add({}, interval [] microsecond)',
        'fail': 'cast(error({}) as bool)', 'ignore': 'inside', 'apostrophe': "\\'",
        'quote': '`', 'folds': false,
        'as_of': "parse_timestamp('%Y%m%dT%H%M%E*SZ', split(snapshot_id, '-')[offset(0)])",
        'never': "timestamp '9999-12-31 00:00:00+00'",
    })) }}
{% endmacro %}

{% macro spark__lookup_sql(spine, time, keys, views, status) %}
    {{ return(featmill._lookup_by_union(spine, time, keys, views, status, {
        'given': 'struct(spine.*)', 'after': 'timestamp_micros(unix_micros({}) + [])',
        'fail': 'cast(raise_error({}) as boolean)', 'ignore': 'outside', 'apostrophe': "\\'",
        'quote': '`', 'folds': false,
        'as_of': "to_timestamp(replace(split_part(snapshot_id, '-', 1), 'Z', '+0000'), \"yyyyMMdd'T'HHmmss[.SSSSSS]xx\")",
        'never': "timestamp '9999-12-31 00:00:00Z'",
    })) }}
{% endmacro %}

{% macro default__lookup_sql(spine, time, keys, views, status) %}
    {{ exceptions.raise_compiler_error(
        "point_in_time has no SQL for " ~ target.type ~ "; it has for duckdb, snowflake, bigquery, spark and databricks"
    ) }}
{% endmacro %}
