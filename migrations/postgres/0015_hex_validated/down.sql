-- What has been looked at stays so.

SELECT 1;
