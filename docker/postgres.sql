create table customers (id int generated always as identity primary key, name text not null, email text not null unique);
create table orders (id bigint generated always as identity primary key, customer_id int references customers, total numeric(10,2) not null);
alter table customers replica identity full;
insert into customers (name, email) values ('Zoë Martin', 'zoe@example.com'), ('Bo Li', 'bo@example.com');
