DROP TABLE audit;
DROP TABLE sessions;
