DROP TABLE schedule_asks;
DROP TABLE schedules;
