-- PostgreSQL runs this once, for a new volume.
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
