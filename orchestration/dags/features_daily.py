"""Airflow's daily DAG of the dbt project that the workers' FEATMILL_PROJECT_DIR names."""

from orchestration.dag_factory import features_daily

dag = features_daily()
