-- The rule is written without a regular expression here from the beginning.

SELECT 1;
